"""The page of `dpc web`: DPC in the browser, served from this package. The browser's part is built from web/."""
