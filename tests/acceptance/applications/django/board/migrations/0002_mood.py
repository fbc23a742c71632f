"""What version 2.0 adds: the code of 1.0 goes on beside it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """One column, which may be empty."""

    dependencies = [("board", "0001_initial")]  # noqa: RUF012
    operations = [  # noqa: RUF012
        migrations.AddField("Message", "mood", models.CharField(max_length=80, default="calm", null=True))
    ]
