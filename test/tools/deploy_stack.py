"""Deploys infra/aws.yaml to moto and prints, as JSON, what the APIs of AWS then say.

usage: deploy_stack.py TEMPLATE ENDPOINT REGION OUTPUTS_QUERY [PARAMETER=VALUE ...]

moto 5.2.5 makes queues, bucket, user and policy from a template, but no policies of queues and buckets, no
alarms, and of a bucket only its name and encryption. The rest is put by the calls that CloudFormation makes
for it, with the template's own properties, which botocore holds against its model of each call.
"""

import json
import sys
import warnings

import boto3
import jmespath
from cfnlint.decode import cfn_yaml

warnings.filterwarnings("ignore")
template_file, endpoint, region, outputs_query, *given = sys.argv[1:]
parameters = dict(pair.split("=", 1) for pair in given)


def client(name):
    return boto3.client(
        name, endpoint_url=endpoint, region_name=region,
        aws_access_key_id="owner", aws_secret_access_key="owner",
    )


cloudformation, sqs, s3, iam, cloudwatch = map(client, ["cloudformation", "sqs", "s3", "iam", "cloudwatch"])

with open(template_file, encoding="utf-8") as file:
    body = file.read()
stack = "audit-log-service"
cloudformation.create_stack(
    StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_IAM"],
    Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
)
described = cloudformation.describe_stacks(StackName=stack)
made = {
    one["LogicalResourceId"]: one.get("PhysicalResourceId")
    for one in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    if "LogicalResourceId" in one  # moto lists what it did not make too
}
template = json.loads(json.dumps(cfn_yaml.load(template_file)))
outputs = {one["Description"]: one["OutputValue"] for one in described["Stacks"][0]["Outputs"]}
settings = {name: one.get("Default") for name, one in template["Parameters"].items()} | parameters
account = "123456789012"


def queue_url(logical):
    name = resolve(template["Resources"][logical]["Properties"]["QueueName"])
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


def attribute(logical, name):
    if name == "QueueName":
        return queue_url(logical).rsplit("/", 1)[1]
    if template["Resources"][logical]["Type"] == "AWS::SQS::Queue":
        return sqs.get_queue_attributes(QueueUrl=queue_url(logical), AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return f"arn:aws:s3:::{made[logical]}"


def condition(name):
    value = template["Conditions"][name]["Fn::Not"][0]["Fn::Equals"]
    return resolve(value[0]) != resolve(value[1])


nothing = object()


def resolve(value):
    """The values of the functions that the template uses."""
    if isinstance(value, list):
        return [one for one in map(resolve, value) if one is not nothing]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Ref"]:
        name = value["Ref"]
        pseudo = {"AWS::NoValue": nothing, "AWS::Region": region, "AWS::Partition": "aws", "AWS::AccountId": account}
        return pseudo[name] if name in pseudo else settings[name] if name in settings else made[name]
    if list(value) == ["Fn::GetAtt"]:
        logical, name = value["Fn::GetAtt"] if isinstance(value["Fn::GetAtt"], list) else value["Fn::GetAtt"].split(".")
        return attribute(logical, name)
    if list(value) == ["Fn::Sub"]:
        text = value["Fn::Sub"]
        for name in {part.split("}")[0] for part in text.split("${")[1:]}:
            asked = {"Fn::GetAtt": name.split(".")} if "." in name else {"Ref": name}
            text = text.replace("${" + name + "}", str(resolve(asked)))
        return text
    if list(value) == ["Fn::If"]:
        name, then, otherwise = value["Fn::If"]
        return resolve(then if condition(name) else otherwise)
    resolved = {key: resolve(one) for key, one in value.items()}
    return {key: one for key, one in resolved.items() if one is not nothing}


def of_type(kind):
    return {
        name: one["Properties"] for name, one in template["Resources"].items() if one["Type"] == kind
    }


for properties in of_type("AWS::SQS::QueuePolicy").values():
    for queue in properties["Queues"]:
        sqs.set_queue_attributes(
            QueueUrl=queue_url(queue["Ref"]),
            Attributes={"Policy": json.dumps(resolve(properties["PolicyDocument"]))},
        )
for properties in of_type("AWS::S3::BucketPolicy").values():
    s3.put_bucket_policy(
        Bucket=resolve(properties["Bucket"]), Policy=json.dumps(resolve(properties["PolicyDocument"]))
    )
for name, properties in of_type("AWS::S3::Bucket").items():
    properties = resolve(properties)
    s3.put_public_access_block(
        Bucket=made[name], PublicAccessBlockConfiguration=properties["PublicAccessBlockConfiguration"]
    )
    s3.put_bucket_ownership_controls(Bucket=made[name], OwnershipControls=properties["OwnershipControls"])
    rules = [
        {
            "ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": ""},
            **({"Expiration": {"Days": int(rule["ExpirationInDays"])}} if "ExpirationInDays" in rule else {}),
            **(
                {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": int(rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])}}
                if "AbortIncompleteMultipartUpload" in rule else {}
            ),
        }
        for rule in properties["LifecycleConfiguration"]["Rules"]
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=made[name], LifecycleConfiguration={"Rules": rules})
for name, properties in of_type("AWS::CloudWatch::Alarm").items():
    cloudwatch.put_metric_alarm(AlarmName=name, **resolve(properties))

user = made["ServiceUser"]
bucket = outputs["EXPORT_S3_BUCKET"]
policies = [
    iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"]
    for name in iam.list_user_policies(UserName=user)["PolicyNames"]
]
key = iam.create_access_key(UserName=user)["AccessKey"]
stranger = iam.create_user(UserName="stranger")["User"]["UserName"]
strange_key = iam.create_access_key(UserName=stranger)["AccessKey"]
queues = {
    name: sqs.get_queue_attributes(QueueUrl=queue_url(name), AttributeNames=["All"])["Attributes"]
    for name in of_type("AWS::SQS::Queue")
}
report = {
    "template": template,
    "outputs": outputs,
    "outputLines": jmespath.search(outputs_query, described),
    "queues": queues,
    "bucket": {
        "name": bucket,
        "encryption": s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"],
        "publicAccess": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "ownership": s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"],
        "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
        "versioning": s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        "policy": json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]),
    },
    "alarms": cloudwatch.describe_alarms()["MetricAlarms"],
    "userPolicies": policies,
    "key": {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]},
    "strangersKey": {"accessKeyId": strange_key["AccessKeyId"], "secretAccessKey": strange_key["SecretAccessKey"]},
}
# moto asks for rights by the names of these calls, where IAM has sqs:SendMessage, s3:ListBucket and so on.
iam.put_user_policy(
    UserName=user, PolicyName="names-of-moto",
    PolicyDocument=json.dumps({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": [
                "sqs:SendMessageBatch", "sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch",
                "sqs:GetQueueUrl", "s3:HeadBucket",
            ],
            "Resource": "*",
        }],
    }),
)
# moto takes a Deny for one without its condition, and would then refuse all that comes.
s3.delete_bucket_policy(Bucket=bucket)
for name in queues:
    sqs.set_queue_attributes(QueueUrl=queue_url(name), Attributes={"Policy": ""})
print(json.dumps(report, default=str))
