"""The pages of the site."""

from django.urls import path

from board import views

urlpatterns = [
    path("", views.page),
    path("up", views.up),
    path("login", views.log_in),
    path("me", views.me),
    path("messages", views.messages),
]
