//! build-tool library.
