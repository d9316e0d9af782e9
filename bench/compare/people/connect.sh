curl -s http://127.0.0.1:8000/shop.catalog.v1.CatalogService/GetProducts \
  -H 'Content-Type: application/json' -d '{"ids": ["42"]}'
