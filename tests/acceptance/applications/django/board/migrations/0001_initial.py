"""The board of version 1.0."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """One table."""

    initial = True
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            "Message",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("key", models.CharField(max_length=80, unique=True)),
                ("author", models.CharField(max_length=80)),
                ("text", models.CharField(max_length=200)),
            ],
        )
    ]
