//! A trace as data: ingest, columns, level of detail, queries.
