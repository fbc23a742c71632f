"""PostgreSQL as the database of a store. The driver is an extra and is imported only when a store is opened in it."""
