curl -s http://127.0.0.1:8000/ -H 'Content-Type: text/xml' -d '<s:Envelope
  xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:b="urn:shop:bench"><s:Body>
  <b:GetProduct><b:product_id>42</b:product_id></b:GetProduct></s:Body></s:Envelope>'
