"""The ERP with our probe around it: their program is left as it is."""
