"""What each error code means, in one place: `pt explain` and the documentation read it."""
