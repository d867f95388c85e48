"""Telling others what happened: webhooks, e-mail and MQTT topics."""
