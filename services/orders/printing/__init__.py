"""Documents as files: a PDF of our own layout, or a workbook of the user's."""
