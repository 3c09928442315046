"""The Celery application that scripts/demo and tests/real_celery.rs run.

One task for each way a task can end. The broker's URL comes from the environment, so that
nothing here knows about ports.
"""

import os

from celery import Celery

app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    # Without these two, Celery sends no task-sent event and no task events at all.
    task_send_sent_event=True,
    worker_send_task_events=True,
    # Nobody asks for results here, and a backend would be one more part to start.
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    timezone="UTC",
)


@app.task(name="shop.orders.add")
def add(x, y):
    return x + y


@app.task(name="shop.stock.reserve", bind=True, max_retries=2)
def reserve(self, item, quantity=1):
    """Fails once, succeeds when it is tried again."""
    if self.request.retries == 0:
        raise self.retry(exc=RuntimeError(f"{item}: shelf is locked"), countdown=0.2)
    return f"{quantity} x {item}"


@app.task(name="shop.payments.charge")
def charge(customer, amount):
    raise ValueError(f"card of {customer} refused: {amount}")
