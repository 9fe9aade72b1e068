//! bundle-tool library.
