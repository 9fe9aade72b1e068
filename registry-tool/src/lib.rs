//! registry-tool library.
