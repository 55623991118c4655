SELECT taskflow.give_bells(%s::text[])
