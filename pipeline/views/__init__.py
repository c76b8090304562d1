"""View makers: what becomes of a clip before the front end, and what is known of it."""
