"""From MQTT to the inbox, live state and the historian."""
