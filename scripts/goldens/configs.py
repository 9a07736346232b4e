"""Makes model/testdata/configs.json: the fields that Transformers' configs of encoders have, at their defaults.

    pip install transformers==5.24.0
    python scripts/goldens/configs.py > model/testdata/configs.json
"""

import json

import transformers

TYPES = ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet", "albert", "modernbert", "deberta-v2"]


def main():
    print("{")
    for name in TYPES:
        fields = transformers.AutoConfig.for_model(name).to_dict()
        fields.pop("transformers_version")
        print(f" {json.dumps(name)}: {json.dumps(fields, sort_keys=True)}{',' if name != TYPES[-1] else ''}")
    print("}")


main()
