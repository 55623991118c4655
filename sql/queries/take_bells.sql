SELECT held, taken, busy FROM taskflow.take_bells(%s::text[])
