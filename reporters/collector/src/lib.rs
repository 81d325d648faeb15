//! Drains the rings of guests and writes CTF directories and streams.
