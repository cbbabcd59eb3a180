"""What alembic runs to apply the revisions: over a connection it is given, or as text.

Alembic loads this file by its path; nothing imports it.
"""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name=context.config.get_main_option("dialect"), as_sql=True)
else:
    context.configure(connection=connection)

with context.begin_transaction():
    context.run_migrations()
