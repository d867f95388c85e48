"""What machines did and what people say of it: states, buckets of time, key figures, reasons."""
