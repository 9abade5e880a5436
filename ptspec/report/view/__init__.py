"""What screens and pages say of records: strings, units, tones and reasons, made once. Lays nothing out."""
