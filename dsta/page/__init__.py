"""What the page is made of: panels, vocabularies, pictures of skeletons. `app.py` puts it together."""
