"""What tests share: small runs, models, servers, made run folders."""
