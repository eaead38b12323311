package s3server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/kapok-operators/kapok/shared/testkit/s3server"
)

// put stores an object with a key.
func put(t *testing.T, s *s3server.Server, key s3server.Key, bucket string) error {
	t.Helper()
	client := *s
	client.Root = key
	_, err := client.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("a"), Body: strings.NewReader("a")})
	return err
}

// refused says how the server has refused something.
func refused(t *testing.T, err error) string {
	t.Helper()
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		t.Fatalf("no answer of the server: %v", err)
	}
	return answer.ErrorCode()
}

func TestKeysCountAsLongAsTheyAreThere(t *testing.T) {
	for name, s := range map[string]*s3server.Server{"http": s3server.Start(t), "https": s3server.StartTLS(t)} {
		t.Run(name, func(t *testing.T) {
			bucket := s.Bucket(t)
			if err := put(t, s, s.Root, bucket); err != nil {
				t.Errorf("put: %v", err)
			}
			wrong := s3server.Key{ID: s.Root.ID, Secret: "wrong"}
			if code := refused(t, put(t, s, wrong, bucket)); code != "SignatureDoesNotMatch" {
				t.Errorf("with a wrong secret: %s", code)
			}
			user := s.User(t)
			if code := refused(t, put(t, s, user, bucket)); code != "AccessDenied" {
				t.Errorf("without a permission: %s", code)
			}
			s.Policy(t, bucket, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "`+user.ID+`"},
				"Action": "s3:PutObject", "Resource": "arn:aws:s3:::`+bucket+`/*"}]}`)
			if err := put(t, s, user, bucket); err != nil {
				t.Errorf("with a permission: %v", err)
			}
			s.Revoke(t, user)
			if code := refused(t, put(t, s, user, bucket)); code != "InvalidAccessKeyId" {
				t.Errorf("with a revoked key: %s", code)
			}
		})
	}
}
