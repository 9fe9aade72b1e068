//! image-tool library.
