"""Users that are not Django's own."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models

__all__ = ["Member"]


class Member(AbstractUser):
    member_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
