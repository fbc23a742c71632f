"""Migrates as one: instances that start beside each other wait for the first."""

from django.core.management import BaseCommand, call_command
from django.db import connection


class Command(BaseCommand):
    """`migrate` under a lock of the database."""

    def handle(self, **_options: object) -> None:
        """Take the lock for as long as the connection is open."""
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(1)")
            call_command("migrate", interactive=False, verbosity=0)
            cursor.execute("select pg_advisory_unlock(1)")
