//! The desktop timeline of Fata.
