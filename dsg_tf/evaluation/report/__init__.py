"""What an evaluation found, as a page: `report_<split>.html`."""
