"""The commands of `tulu`: thin shells that parse options, call the library and print."""
