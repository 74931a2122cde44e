"""The console's pages, one module each: a controller whose routes say what they need."""
