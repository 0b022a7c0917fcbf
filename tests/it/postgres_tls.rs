//! TLS to PostgreSQL: every mode against right and wrong certificates, as psql has it.
