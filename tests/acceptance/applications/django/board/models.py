"""What is on the board."""

from django.conf import settings
from django.db import models


class Message(models.Model):
    """A message; `key` is chosen by who wrote it, so that one that is sent twice is there once."""

    key = models.CharField(max_length=80, unique=True)
    author = models.CharField(max_length=80)
    text = models.CharField(max_length=200)
    if settings.VERSION != "1.0":
        mood = models.CharField(max_length=80, default="calm", null=True)
