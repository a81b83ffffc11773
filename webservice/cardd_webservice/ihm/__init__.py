"""The pages, rendered on the server: French first, English too; readable without scripts."""

from cardd_webservice.ihm.pages import add_pages

__all__ = ["add_pages"]
