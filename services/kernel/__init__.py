"""The shared kernel: value types and rules without data that several services need."""
