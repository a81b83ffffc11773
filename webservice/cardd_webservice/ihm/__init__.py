"""The pages, rendered on the server: French first, English too; readable without scripts."""

from cardd_webservice.ihm.routes import add_pages, told_on_page

__all__ = ["add_pages", "told_on_page"]
