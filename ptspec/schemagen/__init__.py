"""Generate the schemas that follow from the libraries. A development tool."""
