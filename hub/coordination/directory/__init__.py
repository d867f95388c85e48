"""Who is there and what they can do: what people wrote, births said and settings know."""
