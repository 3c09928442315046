"""Sends the demo's tasks: some succeed, some are tried again, some fail. Prints how many."""

from tasks import add, charge, reserve

calls = [
    *(add.s(number, 40) for number in range(4)),
    *(reserve.s(item, quantity=2) for item in ("lamp", "chair")),
    *(charge.s(customer, 12.5) for customer in ("c-7", "c-8")),
]
for call in calls:
    call.delay()
print(len(calls))
