"""The store in a database server: MariaDB, MySQL or PostgreSQL."""
