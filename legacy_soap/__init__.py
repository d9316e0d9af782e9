"""Their system: the ERP of 2004, which we may not change. SOAP 1.1, document/literal, at `/`; WSDL at `/?wsdl`.

It stands in for the machine that every shop of some age has in its cellar, and it keeps the habits of its time.
Nothing of ours is imported here, and nothing from here is imported by ours: `services/erp_adapter` talks to it.

| what             | their habit                                                                                  |
|------------------|----------------------------------------------------------------------------------------------|
| dates, times     | `YYYYMMDD` and `HHMMSS`, without a zone; the machine's clock runs in UTC                     |
| quantities       | nine digits, zero-padded, the minus sign behind: `000000012`, `000000003-`                   |
| money            | cents in nine digits, zero-padded: 49.00 is `000004900`                                      |
| article numbers  | its own, `ART-000024`; a customer may also use the cross-reference (`AltRef`) kept with it   |
| document numbers | ten digits from a range of its own; the customer's reference (`CustRef`) finds them too      |
| article status   | `10` active, `90` unknown                                                                    |
| order status     | `10` open, `20` shipped, `90` cancelled                                                      |
| shipment status  | `10` created, `20` in transit, `30` delivered                                                |
| sessions         | `Login` gives a session id; every other call carries it in a SOAP header, until it expires   |
| stock            | may go below zero: goods sometimes leave before their receipt has been typed in              |

Faults carry `<ErpError><Code/><Text/><Item/></ErpError>` in their detail:

| code    | meaning                                                         | `Item`           |
|---------|-----------------------------------------------------------------|------------------|
| ERR-001 | no session, or an expired one                                   |                  |
| ERR-002 | user or password wrong                                          |                  |
| ERR-010 | a field makes no sense: no such date, no pieces, no article     | the field        |
| ERR-017 | the order's total is over the credit limit                      |                  |
| ERR-042 | article unknown                                                 | its `AltRef`     |
| ERR-044 | order unknown                                                   | its `CustRef`    |
| ERR-045 | the order has no shipment                                       | its `CustRef`    |
| ERR-051 | the order has been cancelled (also before it had arrived)       | its `CustRef`    |
| ERR-052 | the order has been shipped                                      | its `CustRef`    |
| ERR-053 | the reference is in use for something else                     | its `CustRef`    |
| ERR-090 | the message is not that of the WSDL                             |                  |
| ERR-900 | maintenance window                                              |                  |
| ERR-999 | internal error                                                  |                  |
"""
