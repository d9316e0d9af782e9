curl -s http://127.0.0.1:8000/graphql -H 'Content-Type: application/json' \
  -d '{"query": "{ product(id: \"42\") { name } }"}'
