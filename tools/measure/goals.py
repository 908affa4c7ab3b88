"""A goal is a figure with a bound; what was not measured is neither met nor missed."""

import dataclasses
import typing


@dataclasses.dataclass
class Goal:
    name: str
    value: typing.Optional[float]
    bound: float
    at_most: bool      # False: at least.
    unit: str = ""

    @property
    def met(self):
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def line(self):
        mark = {True: "met   ", False: "MISSED", None: "n/a   "}[self.met]
        sign = "<=" if self.at_most else ">="
        value = "not measured" if self.value is None else f"{self.value:.4g}{self.unit}"
        return f"  {mark}  {self.name}: {value} (goal {sign} {self.bound:g}{self.unit})"

    def as_json(self):
        return {"name": self.name, "value": self.value, "bound": self.bound, "at_most": self.at_most, "unit": self.unit.strip(), "met": self.met}
