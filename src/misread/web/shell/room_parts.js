// The parts of a `studio` that end with the room that they are given to; see rooms/index.js.

/** {address, keys} for one room. isShown: whether the address still names it. ends: a list that gets what ends them. */
export function roomParts({ address, keys }, isShown, ends) {
  const add = (end) => {
    ends.push(end);
    return end;
  };
  return {
    address: {
      read: () => address.read(),
      write: (values, options) => address.write(values, options),
      onChange: (listener) => add(address.onChange((state) => isShown(state) && listener(state))),
    },
    keys: { add: (key, textKey, action) => add(keys.add(key, textKey, action)) },
  };
}
