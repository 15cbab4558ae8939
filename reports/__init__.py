"""Reports: pages, tables and figures made from results.json and pictures alone."""
