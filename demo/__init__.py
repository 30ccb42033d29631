"""The demo: both shipped models behind a page and an API.

`models` loads them, `reading` asks both about an image, `uploads` reads what was sent, `page` shows
an answer, `api` gives it to programs, and `server` serves all of it; app.py joins them.
"""
