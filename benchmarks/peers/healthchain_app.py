"""HealthChain from PyPI doing the light work of ``fastapi_by_hand.py`` in its own CDS Hooks service."""

import math
import uuid

from healthchain.gateway import HealthChainAPI
from healthchain.gateway.cds import CDSHooksService
from healthchain.models import CDSRequest, CDSResponse

_LOINC = "http://loinc.org"
_WEIGHTS = {"2345-7": 0.02, "39156-5": 0.05, "8280-0": 0.01, "2093-3": 0.002, "2085-9": -0.01}
_INTERCEPT = -5.0

cds = CDSHooksService()


@cds.hook("patient-view", id="dysglycaemia-screening")
def screen(request: CDSRequest) -> CDSResponse:
    latest = {}
    for key in ("labs", "vitals", "hba1c"):
        for entry in (request.prefetch.get(key) or {}).get("entry", ()):
            resource = entry["resource"]
            value = resource.get("valueQuantity", {}).get("value")
            if value is None or resource.get("status") not in ("final", "amended", "corrected"):
                continue
            for coding in resource["code"]["coding"]:
                if coding.get("system") == _LOINC:
                    taken = resource.get("effectiveDateTime", "")
                    known = latest.get(coding["code"])
                    if known is None or taken > known[0]:
                        latest[coding["code"]] = taken, value
    score = _INTERCEPT + sum(weight * latest[code][1] for code, weight in _WEIGHTS.items() if code in latest)
    risk = 1 / (1 + math.exp(-score))
    return CDSResponse(
        cards=[
            {
                "uuid": str(uuid.uuid4()),
                "summary": f"No recent HbA1c; estimated probability of 6.5 % or more: {100 * risk:.0f} %",
                "indicator": "info",
                "source": {"label": "HealthChain"},
                "suggestions": [{"label": "Order HbA1c", "uuid": str(uuid.uuid4()), "isRecommended": True}],
                "selectionBehavior": "any",
            }
        ]
    )


app = HealthChainAPI()
app.register_service(cds)
