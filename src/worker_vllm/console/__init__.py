"""The console at `/`: a page in the browser that deploys workers from the form and shows what they do."""
