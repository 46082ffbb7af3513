//! Sweeps of networks that do not exist.
