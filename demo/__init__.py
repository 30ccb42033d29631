"""The demo: what it says (answer), the page around it (page), its models (models), and how it is
served (server).
"""
