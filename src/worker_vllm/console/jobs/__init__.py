"""Jobs: what happened to each, the rows of the table, the page of one."""
